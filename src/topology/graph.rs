//! Pictures of a resolved topology: Mermaid, Graphviz and SVG.
