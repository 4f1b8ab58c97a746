"""The model card beside its JSON: completed for a release, validated, written as Markdown and HTML.

    made          where and by what a card was made, and the facts of its folds
    validate      the published JSON Schema
    parts, sheets what the renderings show, in their order, as plain text
    markdown      GitHub Markdown with the front matter of the Hugging Face Hub
    model_index   that front matter
    html          one page that loads nothing
    showing       what `tft card` does

Not here: the card itself (`domain.model_card`), what a release adds (`domain.card_completion`).
"""

from tft_pipeline.domain.card_completion import complete_card, override_card
from tft_pipeline.pipeline.card.html import card_html
from tft_pipeline.pipeline.card.markdown import card_markdown
from tft_pipeline.pipeline.card.validate import CardInvalidError, validate_card

__all__ = ["CardInvalidError", "card_html", "card_markdown", "complete_card", "override_card", "validate_card"]
