"""A run as it is shown while it goes on: its state, its curves, its gates, what it says."""

from html import escape

from demo.finetune.runs import Run
from demo.finetune.story import Story
from demo.ui.charts import Line, chart, smoothed, strip
from demo.ui.teach_markup import beside, duration
from demo.ui.teach_words import TeachWords

MOVING = ("preparing", "running", "stopping")


def live(run: Run, story: Story, words: TeachWords) -> str:
    """Everything but the comparison at the end."""
    parts = [_state(run, story, words)]
    if story.steps or story.looks:
        parts.append(f'<div class="charts">{_curves(story, words)}</div>')
    if story.probes:
        parts.append(_probes(story, words))
    return "".join(parts)


def _state(run: Run, story: Story, words: TeachWords) -> str:
    facts = []
    if run.place:
        facts.append(words.place.format(place=run.place))
    elif run.state == "preparing":
        facts.append(words.preparing_more)
    elif story.started:
        facts.append(words.step_of.format(step=story.done, steps=story.started.steps))
        if run.state == "running" and not story.steps:
            facts.append(words.first_step)
        elif run.state == "running" and story.finished:
            facts.append(words.judging)
        elif run.state in ("running", "paused") and story.seconds_left is not None:
            facts.append(words.time_left.format(time=duration(story.seconds_left, words)))
    share = story.done / story.started.steps if story.started else 0.0
    over = run.state == "done"
    bar = (
        f'<div class="bar"><i style="width:{100 if over else 100 * min(share, 1):.1f}%"></i></div>'
    )
    word = getattr(words, run.state)
    said = run.message if run.message.rstrip(".") != word else ""
    message = f"<p>{escape(said)}</p>" if said else ""
    moving = " moving" if run.state in MOVING else ""
    return (
        f'<div class="run-state {run.state}{moving}" role="status"><div class="line">'
        f'<span class="dot"></span><b>{escape(word)}</b>'
        f'<strong>{escape(run.name)}</strong><span class="rest">{escape(" · ".join(facts))}</span>'
        f"</div>{bar}{message}</div>"
    )


def _curves(story: Story, words: TeachWords) -> str:
    end = story.started.steps if story.started else story.done
    train = [(float(step.step), step.loss) for step in story.steps]
    held = [(float(look.step), look.loss) for look in story.looks]
    lines = [Line("raw", train), Line("train", smoothed(train)), Line("held", held, dots=True)]
    now = f"{held[-1][1]:.2f}" if held else f"{train[-1][1]:.2f}" if train else "–"
    legend = f'<span class="key train">{escape(words.train_loss)}</span>'
    if held:
        legend += f'<span class="key held">{escape(words.held_loss)}</span>'
    alt = words.chart_alt.format(name=words.loss, value=now)
    figures = [_figure(words.loss, words.loss_hint, now, legend, chart(lines, end=end, alt=alt))]
    exact = [(float(look.step), look.exact) for look in story.looks]
    if any(share > 0 for _, share in exact):  # a voice has no one right answer
        now = f"{exact[-1][1]:.0%}"
        alt = words.chart_alt.format(name=words.exact, value=now)
        drawn = chart([Line("held", exact, dots=True)], end=end, alt=alt, top=1.0, percent=True)
        figures.append(_figure(words.exact, words.exact_hint, now, "", drawn))
    if story.steps:
        figures += [_rate(story, end, words), _gates(story, words)]
    return "".join(figures)


def _rate(story: Story, end: float, words: TeachWords) -> str:
    points = [(float(step.step), step.rate) for step in story.steps]
    now = f"{points[-1][1]:.2g}"
    alt = words.chart_alt.format(name=words.learning_rate, value=now)
    return _figure(
        words.learning_rate, "", now, "", chart([Line("rate", points)], end=end, alt=alt)
    )


def _gates(story: Story, words: TeachWords) -> str:
    gates = story.steps[-1].gates
    labels = [
        words.gates_layer.format(layer=number, value=f"{gate:.3f}")
        for number, gate in enumerate(gates, 1)
    ]
    widest = words.gates_most.format(value=f"{max(gates):.2f}")
    ends = f'<div class="ends"><span>{escape(words.gates_low)}</span>'
    ends += f"<span>{escape(words.gates_high)}</span></div>"
    return _figure(words.gates, words.gates_hint, widest, "", strip(gates, labels) + ends, "gates")


def _figure(title: str, hint: str, now: str, legend: str, drawn: str, kind: str = "") -> str:
    return (
        f'<figure class="{kind}"><figcaption title="{escape(hint)}"><b>{escape(title)}</b>{legend}'
        f'<span class="now">{escape(now)}</span></figcaption>{drawn}</figure>'
    )


def _probes(story: Story, words: TeachWords) -> str:
    first, last = story.probes[0], story.probes[-1]
    rows = []
    for place, question in enumerate(last.questions):
        replies = [(words.probes_base, first.replies[place], "")]
        if last is not first:
            when = words.probes_step.format(step=last.step)
            replies.append((when, last.replies[place], "ours"))
        picture = first.pictures[place] if place < len(first.pictures) else ""
        rows.append(beside(question, picture, replies, words))
    return f"<h3>{escape(words.probes)}</h3>{''.join(rows)}"
