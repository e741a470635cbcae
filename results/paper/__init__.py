"""The paper's tables and published figures of newer methods."""
