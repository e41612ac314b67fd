"""The curves of a run as a table: what was measured at each step, every step of it."""

import csv
import io

from demo.finetune.train.events import RunHistory

COLUMNS = ("step", "training_loss", "held_out_loss", "exact_replies", "learning_rate")


def as_csv(history: RunHistory) -> str:
    """Write a row a step: losses in nats a token, the share of exact replies, rate, gates.

    What was not measured at a step stays empty. A gate is its layer's mean |tanh(gate)|, the lowest
    adapted layer first.
    """
    steps = {step.step: step for step in history.steps}
    looks = {look.step: look for look in history.evaluations}
    layers = max((len(step.gates) for step in history.steps), default=0)
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write([*COLUMNS, *(f"gate_{layer}" for layer in range(1, layers + 1))])
    for number in sorted(steps.keys() | looks.keys()):
        step, look = steps.get(number), looks.get(number)
        held = (look.loss, look.exact) if look else ("", "")
        gates = step.gates if step else ("",) * layers
        write([number, step.loss if step else "", *held, step.rate if step else "", *gates])
    return out.getvalue()
