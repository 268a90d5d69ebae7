"""Heatmaps of layers and steps: a run beside the other, on one order of layers, one grid of steps, one scale."""

from __future__ import annotations

from collections.abc import Sequence

from dash import dcc, html
from dash.development.base_component import Component

from ...db.store import Store
from ...runs.debugging.layers import NAN, NEGATIVE, POSITIVE, STATISTICS, LayersView, Mark, Row, layers_view
from ..comparison import Comparison
from ..debug_query import DebugQuery
from ..formats import number
from ..heatmap import NOT_FINITE, ZERO, gradient, pixels, readout, ticks
from ..png import data_url
from .compare_header import run_cell
from .debug_timeline import round_steps

COLUMNS = 256
NAMES = {
    "gradient_norm": "Gradient norm",
    "activation_norm": "Activation norm",
    "zero_fraction": "Share of zeros",
    "update_ratio": "Update ÷ weight",
}
EXPLAINED = {
    "gradient_norm": "Norm of the gradient of each layer's parameters, before clipping.",
    "activation_norm": "Norm of what each layer put out.",
    "zero_fraction": "Share of a layer's outputs that are exactly zero: a ReLU at 1 is dead.",
    "update_ratio": "Norm of an update as a share of the norm of the weights it moves; about 0.001 is common.",
}
SIGNS = {"not_finite": "NaN", "exploding": "explodes", "dead": "dead", "no_gradient": "no gradient"}
ROW_PIXELS = ((14, 24), (32, 19), (70, 14), (10**9, 11))  # up to so many layers, each so high


def section(store: Store, comparison: Comparison, query: DebugQuery) -> Component | None:
    """The card with a heatmap a run; says how to get one where no run has measured its layers."""
    view = layers_view(store, comparison.runs, query.statistic, columns=COLUMNS)
    runs = [
        run for run in comparison.runs if any(row.path is not None and row.state.any() for row in view.rows[run.id])
    ]
    content: list[Component | None]
    if runs:
        height = next(pixels for most, pixels in ROW_PIXELS if len(view.layers) <= most)
        content = [
            html.Div(
                [_heatmap(run.id, view, comparison) for run in runs],
                className="heatmaps",
                style={"--row": f"{height}px", "--rows": str(len(view.layers))},
            ),
            _color_bar(view),
            *[html.P(sentence, className="soft small") for sentence in view.missing],
        ]
    elif not any(info.name.startswith("layers/") for info in store.series_infos(comparison.ids)):
        return html.Section(
            [
                html.Div(html.H2("Layers over the steps"), className="card-head"),
                html.P(
                    [
                        "None of these runs measured its layers. ",
                        html.Code("debug=True"),
                        " of either tracker does, at every step.",
                    ],
                    className="soft card-body",
                ),
            ],
            className="card section",
        )
    else:
        content = [html.P(f"None of these runs measured the {query.statistic.replace('_', ' ')}.", className="soft")]
    return html.Section(
        [
            html.Div([html.H2("Layers over the steps"), _choice(query)], className="card-head"),
            html.Div(
                [html.P(EXPLAINED[query.statistic] + _width(view), className="soft small"), *content],
                className="card-body",
            ),
        ],
        className="card section layers",
        **{"aria-label": "Layers over the steps"},
    )


def _choice(query: DebugQuery) -> Component:
    return html.Nav(
        [
            dcc.Link(
                NAMES[statistic],
                href="/debug" + query.search(statistic=statistic),
                className="button" + (" chosen" if statistic == query.statistic else ""),
                **({"title": EXPLAINED[statistic]}),
            )
            for statistic in STATISTICS
        ],
        className="debug-choice",
        **{"aria-label": "What of the layers"},
    )


def _width(view: LayersView) -> str:
    return f" A column is {view.width:,} steps, and shows the largest of them." if view.width > 1 else ""


def _heatmap(run_id: str, view: LayersView, comparison: Comparison) -> Component:
    rows = view.rows[run_id]
    first = int(view.starts[0])
    end = first + view.width * len(view.starts)
    label = comparison.labels[run_id]
    return html.Figure(
        [
            html.Figcaption(run_cell(run_id, comparison)),
            html.Div(
                [_label(row, place, view) for place, row in enumerate(rows)],
                className="heat-labels",
            ),
            html.Div(
                [
                    html.Img(
                        src=data_url(pixels(rows, view)), alt=f"{NAMES[view.statistic]} of {label}", draggable="false"
                    ),
                    html.Div(className="heat-cursor"),
                ],
                className="heat-picture",
                tabIndex=0,
                role="application",
                **{
                    "aria-label": f"{NAMES[view.statistic]} of the layers of {label}: arrow keys read single values",
                    "data-values": readout(rows),
                    "data-columns": str(len(view.starts)),
                    "data-first": str(first),
                    "data-width": str(view.width),
                },
            ),
            html.Div(
                [
                    html.Span(f"{step:,}", style={"left": f"{100 * (step - first + 0.5) / (end - first):.3f}%"})
                    for step in round_steps(first, end - 1)
                ]
                + [html.Span("step", className="unit")],
                className="track-axis",
            ),
            html.P("Point at a cell to read it.", className="heat-readout", role="status"),
        ],
        className="heatmap",
    )


def _label(row: Row, place: int, view: LayersView) -> Component:
    if row.path is None:
        return html.Div("no such layer", className="heat-label absent", **{"data-layer": ""})
    kind = view.layers[place].kind
    return html.Div(
        [html.Span(row.path, className="path"), *[_sign(mark) for mark in row.marks]],
        className="heat-label" + ("" if row.state.any() else " absent"),
        title=f"{row.path} ({kind})" if kind else row.path,
        **{"data-layer": row.path},
    )


def _sign(mark: Mark) -> Component:
    return html.Span(SIGNS[mark.kind], className=f"badge sign {mark.kind}", title=mark.sentence)


def _color_bar(view: LayersView) -> Component:
    states = {int(state) for rows in view.rows.values() for row in rows for state in set(row.state.tolist())}
    words = [(NAN, "NaN"), (POSITIVE, "+∞"), (NEGATIVE, "−∞")]
    keys = [(NOT_FINITE[state], word) for state, word in words if state in states]
    if view.logarithmic and _has_zero([row for rows in view.rows.values() for row in rows]):
        keys.insert(0, (ZERO, "exactly 0"))
    return html.Div(
        [
            html.Div(
                [
                    html.Div(className="bar", style={"background": gradient()}),
                    html.Div(
                        [
                            html.Span(number(value, 3), style={"left": f"{100 * place:.2f}%"})
                            for place, value in ticks(view)
                        ],
                        className="bar-ticks",
                    ),
                ],
                className="color-bar",
            ),
            html.Span(
                NAMES[view.statistic] + (", logarithmic, one scale for all runs" if view.logarithmic else ""),
                className="soft small",
            ),
            *[html.Span([html.Span(className="key", style={"background": color}), word]) for color, word in keys],
        ],
        className="heat-scale",
    )


def _has_zero(rows: Sequence[Row]) -> bool:
    return any(bool((row.maximum == 0).any()) for row in rows)
