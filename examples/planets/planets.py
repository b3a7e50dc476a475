"""How much 70 kg weigh on each planet: one task, called for every element of a list.

    python examples/planets/planets.py

Add a planet to the list, and one call executes.
"""

from __future__ import annotations

from typing import NamedTuple

import tasklineage as tl
from tasklineage import task

GRAVITATION = 6.674e-11  # m^3 / (kg s^2)
EARTH = 9.81  # m / s^2


class Planet(NamedTuple):
    """A planet; its mass in 10^24 kg, its radius in km."""

    name: str
    mass: float
    radius: float


PLANETS = [
    Planet("Mercury", 0.330, 2440),
    Planet("Venus", 4.87, 6052),
    Planet("Earth", 5.97, 6371),
    Planet("Mars", 0.642, 3390),
    Planet("Jupiter", 1898, 69911),
    Planet("Saturn", 568, 58232),
    Planet("Uranus", 86.8, 25362),
    Planet("Neptune", 102, 24622),
]


@task
def weight(planet: Planet, kilograms: float) -> float:
    """What a scale made for the Earth shows on the planet, in kg."""
    gravity = GRAVITATION * planet.mass * 1e24 / (planet.radius * 1e3) ** 2
    return kilograms * gravity / EARTH


def main() -> None:
    """Print a line for each planet."""
    with tl.run("planets") as run:
        weights = tl.map(weight, PLANETS, kilograms=70.0)
        for planet, shown in zip(PLANETS, weights, strict=True):
            print(f"{planet.name:8} {shown:6.1f} kg")
    print(f"executed {run.executed}, hits {run.hits}")


if __name__ == "__main__":
    main()
