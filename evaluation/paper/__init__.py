"""The experiments of Chen et al. 2017 (``bbo paper``): what is played, its figures, its words."""
