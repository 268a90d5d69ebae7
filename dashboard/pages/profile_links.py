"""What surrounds the Profile page's numbers: the traces themselves, other tools to open them in, and their notes."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from ...runs.traces.comparison import compare_profiles
from ..badges import icon, swatch
from ..comparison import Comparison
from ..profile_reader import RunProfile
from ..tensorboard import TensorBoardLinks

HOW = "train it with profile=True to record one."
SNIPPETS = {
    "PyTorch Lightning": "Trainer(callbacks=[trackside.LightningTracker(profile=True)])",
    "Keras": "model.fit(x, y, callbacks=[trackside.KerasTracker(profile=True)])",
}


def how_to_record(without: Sequence[RunProfile]) -> Component:
    """Stands in the place of the page where no run has a trace."""
    waiting = any(one.run.state == "running" for one in without)
    several = len(without) > 1
    return html.Div(
        [
            html.H2("None of these runs recorded a trace" if several else "This run recorded no trace"),
            html.P(
                "A trace covers a few steps after the warm-up and says where their time went. Ask the tracker for one:",
                className="soft",
            ),
            html.Div([html.Div([html.H3(name), html.Pre(code)]) for name, code in SNIPPETS.items()], className="pair"),
            html.P(["Or, for a workload: ", html.Code("trackside run digits-cnn --profile")]),
            html.P("It is still training: a trace appears here by itself.", className="soft", role="status")
            if waiting
            else None,
        ],
        className="empty",
    )


def menu(profiles: Sequence[RunProfile], comparison: Comparison, links: TensorBoardLinks) -> Component | None:
    """The traces as files, and what else opens them; None where there is no trace."""
    having = [one for one in profiles if one.trace is not None]
    if not having:
        return None
    ids = ",".join(one.run.id for one in having)
    both = "both traces" if len(having) == 2 else "all traces" if len(having) > 2 else "the trace"
    entries: list[Component] = [
        html.Button(
            ["Open in Perfetto", icon("external")],
            type="button",
            className="menu-entry",
            title=f"Opens ui.perfetto.dev with {both}; needs the internet. The traces stay in the browser.",
            **{"data-perfetto": f"/profile/merged?runs={ids}"},
        ),
        html.P("Needs the internet; the traces stay in your browser.", className="soft menu-note"),
    ]
    if links.folder is not None:
        entries.append(
            html.A(
                ["TensorBoard Profile", icon("external")],
                href=f"/profile/tensorboard?runs={ids}",
                target="_blank",
                rel="noreferrer",
                className="menu-entry",
            )
        )
    entries.append(html.A(f"Download {both} as one Chrome trace", href=f"/profile/merged?runs={ids}", download=""))
    entries += [
        html.A(
            f"Trace of {comparison.labels[one.run.id]}, as recorded",
            href=f"/profile/raw?run={one.run.id}&rank={one.trace.rank}",
            download="",
        )
        for one in having
        if one.trace is not None
    ]
    return html.Details(
        [
            html.Summary([icon("download"), "Traces"], className="button"),
            html.Div([*entries, html.P(id="perfetto-said", className="soft menu-note", role="status")]),
        ],
        className="menu wide",
    )


def notes_card(shown: Sequence[RunProfile], comparison: Comparison) -> Component | None:
    """What a reader of the numbers must know, run by run; None where there is nothing to say."""
    labels = [comparison.labels[one.run.id] for one in shown]
    said = compare_profiles([one.profile for one in shown if one.profile is not None], labels).captions[len(shown) :]
    own = {label: [one.removeprefix(f"{label}: ") for one in said if one.startswith(f"{label}: ")] for label in labels}
    shared = [one for one in said if not any(one.startswith(f"{label}: ") for label in labels)]
    if not said:
        return None
    return html.Section(
        [
            html.Div(html.H2("How to read these numbers"), className="card-head"),
            html.Div([html.P(sentence) for sentence in shared], className="card-body") if shared else None,
            html.Div(
                [
                    html.Div(
                        [
                            html.H3([swatch(comparison.strokes[one.run.id]), label], className="run"),
                            html.Ul([html.Li(note[:1].upper() + note[1:]) for note in own[label]]),
                        ]
                    )
                    for one, label in zip(shown, labels, strict=True)
                    if own[label]
                ],
                className="card-body trace-notes",
            ),
        ],
        className="card section",
        **{"aria-label": "Notes on the traces"},
    )
