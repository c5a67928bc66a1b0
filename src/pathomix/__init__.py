"""pathomix: from public identifiers to the tables and figures of multimodal cancer-outcome papers."""

__version__ = "0.1.0"
