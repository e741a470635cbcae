"""What all data sets share: samples, indexes, fingerprints, label spaces."""
