"""The section of an experiment file that says what only people know of a model: whose it is, under which terms, what for.

Not here: anything a run finds out (`model_card`).
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from tft_pipeline.domain.sections import Section

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
License = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,63}$")]


class CardSection(Section):
    """What the model card says besides figures. Nothing is made up: a key that is left out is null there, with the reason."""

    owner: Words | None = Field(default=None, description="person or team that answers for the model")
    license: License | None = Field(
        default=None,
        description="identifier of the model's license, such as apache-2.0; one that the Hugging Face Hub does not list is "
        "exported as other, with this name",
    )
    intended_use: Words | None = Field(
        default=None, description="what the model is for; description where it is left out"
    )
    out_of_scope: Annotated[tuple[Words, ...], Field(strict=False, max_length=20)] = Field(
        default=(), description="uses that the model is not for, beside those that its data and verdict rule out"
    )
