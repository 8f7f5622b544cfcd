"""memedit: an editable memory of facts for any chat model."""

__all__: list[str] = []
