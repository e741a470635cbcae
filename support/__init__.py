"""The ground floor: files, errors, texts, arrays and drawing, for all rooms. Imports none of them."""
