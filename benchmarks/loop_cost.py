"""A training loop of one's own beside the trainer's step: what is left of Python in it.

    python benchmarks/loop_cost.py [--threads N] [--quick]

Prints a Markdown table.  Three like nets of 784-512-256-10 take turns in one process: by
`Trainer.step`; by a loop that calls net, loss and optimizer, whose passes go by tapes; by the same
loop with passes layer by layer.  Their parameters are checked to stay the same, bit for bit.
"""

import argparse
import itertools

import in_process

SIZES = (784, 512, 256, 10)
BATCHES = (8, 16, 32, 64, 96, 256, 1024)
STEPS = 8  # of a turn's call, each with samples of its own


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    return parser.parse_args()


def make_net():
    """Linear, BatchNorm1d and ReLU, twice, and Linear."""
    import fastbn

    layers = []
    for i, (rows, columns) in enumerate(itertools.pairwise(SIZES)):
        layers += [fastbn.Linear(rows, columns, rng=i)]
        if columns != SIZES[-1]:
            layers += [fastbn.BatchNorm1d(columns), fastbn.ReLU()]
    return fastbn.Sequential(*layers)


def sides(batch):
    """Steps by the three ways, after a check that they train alike."""
    import numpy as np

    import fastbn

    rng = np.random.default_rng(0)
    batches = [
        (rng.standard_normal((batch, SIZES[0]), np.float32), rng.integers(SIZES[-1], size=batch))
        for _ in range(STEPS)
    ]

    def parts():
        net = make_net()
        return net, fastbn.CrossEntropyLoss(), fastbn.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def by_trainer():
        trainer = fastbn.Trainer(*parts(), metrics=())
        return trainer.net, trainer.step

    def by_loop(tapes):
        net, loss, optimizer = parts()
        if not tapes:
            net._passes._repeats = False

        def step(x, y):
            loss(net(x, training=True), y)
            net.backward(loss.backward(), need_dx=False)
            optimizer.step()

        return net, step

    ways = {"trainer": by_trainer(), "loop": by_loop(True), "by layers": by_loop(False)}

    def steps_of(step):
        def steps():
            for x, y in batches:
                step(x, y)

        return steps

    runs = {name: steps_of(step) for name, (_, step) in ways.items()}
    for run in runs.values():
        run()
    first, *others = ([p.data for p in net.parameters()] for net, _ in ways.values())
    for other in others:
        for one, another in zip(first, other, strict=True):
            np.testing.assert_array_equal(one, another)
    return runs


def main() -> None:
    """Measure and print."""
    args = arguments()
    threads = in_process.prepare(args.threads)
    rounds, seconds = (1, 0.005) if args.quick else (25, 0.05)
    print(f"{'-'.join(map(str, SIZES))}, float32, {threads} thread(s), microseconds a step:\n")
    print("| batch | Trainer.step | loop of one's own | the same, layer by layer | gain by tapes |")
    print("|---:|---:|---:|---:|---:|")
    for batch in BATCHES:
        times = in_process.interleaved(sides(batch), rounds, seconds)
        micros = {name: in_process.median(t) * 1e6 / STEPS for name, t in times.items()}
        gain = in_process.median(
            slow / fast for slow, fast in zip(times["by layers"], times["loop"], strict=True)
        )
        columns = " | ".join(f"{micros[name]:,.0f}" for name in times)
        print(f"| {batch} | {columns} | {gain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
