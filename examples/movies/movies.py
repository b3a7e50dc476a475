"""What films of each genre have grossed: read, split by genre, summarise each, join.

    python examples/movies/movies.py

Change a film in movies.csv, and only what depends on its genre is computed again.
"""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

import tasklineage as tl
from tasklineage import task

MOVIES = tl.File(Path(__file__).with_name("movies.csv"))

Film = dict[str, Any]
Summary = dict[str, Any]


@task
def read(file: tl.File) -> list[Film]:
    """One film for each line of the file, whose content counts, not its place or date."""
    return [
        {**row, "year": int(row["year"]), "gross": float(row["gross"])}
        for row in csv.DictReader(file.text().splitlines())
    ]


@task
def split(films: list[Film]) -> dict[str, list[Film]]:
    """The films of each genre."""
    genres = sorted({film["genre"] for film in films})
    return {genre: [film for film in films if film["genre"] == genre] for genre in genres}


@task
def summarise(films: list[Film]) -> Summary:
    """How many films these are, what they have grossed, and which one the most."""
    gross = [film["gross"] for film in films]
    best = max(films, key=lambda film: film["gross"])
    return {"count": len(films), "median": statistics.median(gross), "best": best["title"]}


@task
def table(summaries: tl.Inputs) -> str:
    """A line for each genre, the one with the highest median first."""
    ranked = sorted(summaries.items(), key=lambda item: item[1]["median"], reverse=True)
    lines = [
        f"{genre:16} {summary['count']:5} {summary['median']:7,.0f} M$  {summary['best']}"
        for genre, summary in ranked
    ]
    return "\n".join([f"{'genre':16} films  median     highest", *lines])


def main() -> None:
    """Print the table, and say what had to be executed for it."""
    with tl.run("movies") as run:
        genres = split(read(MOVIES))
        summaries = {genre: summarise.bind(films) for genre, films in genres.items()}
        print(tl.join(table, summaries))
    print(f"executed {run.executed}, hits {run.hits}")


if __name__ == "__main__":
    main()
