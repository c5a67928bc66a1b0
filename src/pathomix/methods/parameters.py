"""Parameters of a method; the functions live in core, where representations find them too."""

from __future__ import annotations

from pathomix.core.parameters import choice as choice
from pathomix.core.parameters import filled as filled
