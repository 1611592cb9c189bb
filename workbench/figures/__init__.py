"""Pictures of grids and reports, and the report page. Pure: values in, figures, bytes or HTML out."""

from workbench.figures.bars import arms, scores
from workbench.figures.curves import dose_curves, training
from workbench.figures.fronts import front, starts
from workbench.figures.maps import heatmap
from workbench.figures.page import page, write_page
from workbench.figures.sections import Banner, Code, Heading, Picture, Plot, Section, Table, Text, Tiles, verdict
from workbench.figures.still import static

__all__ = [
    "Banner", "Code", "Heading", "Picture", "Plot", "Section", "Table", "Text", "Tiles",
    "arms", "dose_curves", "front", "heatmap", "page", "scores", "starts", "static", "training", "verdict",
    "write_page",
]  # fmt: skip
