"""Five output types of rising difficulty, with bounded texts and lists.

The bounds make every answer end: an unbounded one may continue until its token limit.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

Line = Annotated[str, Field(min_length=1, max_length=24)]


class Person(BaseModel):
    """Plain fields."""

    name: Line
    age: int = Field(ge=0, le=120)


class Genre(Enum):
    """An enumeration."""

    NOVEL = "novel"
    POETRY = "poetry"
    SCIENCE = "popular science"


class Book(BaseModel):
    """An enumeration, and fields that may be null."""

    title: Line
    genre: Genre
    year: int | None = Field(default=None, ge=1000, le=2100)
    in_print: bool = True


class Step(BaseModel):
    """A part of a list."""

    do: Line
    minutes: int = Field(ge=1, le=90)


class Recipe(BaseModel):
    """Lists of objects, and lists of lists."""

    title: Line
    steps: list[Step] = Field(min_length=1, max_length=3)
    table: list[Annotated[list[Literal[0, 1, 2]], Field(min_length=2, max_length=2)]] = Field(max_length=2)


class Train(BaseModel):
    """One way to travel."""

    by: Literal["train"]
    stops: list[Line] = Field(max_length=2)


class Flight(BaseModel):
    """Another way to travel."""

    by: Literal["plane"]
    code: str = Field(pattern=r"^[A-Z]{2}[0-9]{3}$")


class Journey(BaseModel):
    """Unions of objects, and of plain types."""

    way: Annotated[Train | Flight, Field(discriminator="by")]
    seat: int | Literal["any"]


class Region(BaseModel):
    """Where a town is."""

    name: Line
    within: Line | None = None


class Town(BaseModel):
    """Names and values beyond ASCII."""

    name: Literal["東京", "Köln", "Αθήνα"] = Field(alias="städtename")
    smile: Literal["🙂", "👩‍🚀"]
    part_of: Region | None = Field(alias="région")


TYPES: tuple[type[BaseModel], ...] = (Person, Book, Recipe, Journey, Town)
"""The five types, easiest first."""

PROMPTS = dict(
    zip(
        TYPES,
        (
            "Make up a person with a name and an age.",
            "Describe a famous book: its title, genre, year, and whether it is in print.",
            "Give me a short recipe for pancakes with its steps.",
            "Plan a journey from Paris to Rome, by train or by plane.",
            "Name a town and the region that it is part of.",
        ),
        strict=True,
    )
)
"""A prompt for each type."""

LONGEST = 400
"""A token limit within which any of the answers fits."""
