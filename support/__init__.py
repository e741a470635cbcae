"""The ground floor: files, errors, texts, choices, arrays and drawing, for all rooms. Imports none of them."""
