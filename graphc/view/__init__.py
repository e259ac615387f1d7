"""Pictures of graphs and plans: DOT, SVG, PNG, PDF and text tables."""
