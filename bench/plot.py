"""A picture of figures that are to be compared: bars, drawn by hand as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

#: All in pixels of the picture.
_WIDTH = 720
_LABELS = 190
_FIGURES = 80
_BAR = 22
_STEP = 34
_TOP = 56

_OURS, _OTHER, _INK = "#2563eb", "#9ca3af", "#374151"
_FONT = "font-family='system-ui, sans-serif'"


def bars(title: str, unit: str, figures: Mapping[str, float], *, ours: str) -> str:
    """One bar for each figure, the smallest on top; `ours` has its own colour."""
    longest = max(figures.values())
    scale = (_WIDTH - _LABELS - _FIGURES) / longest
    height = _TOP + _STEP * len(figures) + 16
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
        f"<text x='16' y='32' {_FONT} font-size='17' fill='{_INK}'>{escape(title)}</text>",
    ]
    for row, (name, figure) in enumerate(sorted(figures.items(), key=lambda item: item[1])):
        top = _TOP + row * _STEP
        text = top + _BAR * 0.72
        colour = _OURS if name == ours else _OTHER
        parts += [
            f"<text x='{_LABELS - 12}' y='{text:.1f}' {_FONT} font-size='14' fill='{_INK}' "
            f"text-anchor='end'>{escape(name)}</text>",
            f"<rect x='{_LABELS}' y='{top}' width='{figure * scale:.1f}' height='{_BAR}' fill='{colour}'/>",
            f"<text x='{_LABELS + figure * scale + 8:.1f}' y='{text:.1f}' {_FONT} font-size='14' "
            f"fill='{_INK}'>{figure:.1f} {escape(unit)}</text>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
