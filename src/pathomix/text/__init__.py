"""Label texts: fields, prompts, text encoders and their cached embeddings."""
