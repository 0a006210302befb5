"""A cloud and requests for the tests: made here, in the columns of the trace."""

import csv

NODES = [
    {"sn": f"gpu{number:02}", "cpu_milli": 96000, "memory_mib": 393216, "gpu": 8, "model": "G2"}
    for number in range(4)
]
NODES += [
    {"sn": f"small{number}", "cpu_milli": 32000, "memory_mib": 131072, "gpu": 2, "model": "T4"}
    for number in range(4)
]
NODES += [{"sn": "plain0", "cpu_milli": 64000, "memory_mib": 262144, "gpu": 0, "model": ""}]

KINDS = [(12000, 49152, 1, 12), (11300, 40960, 1, 8), (48000, 196608, 4, 1), (8000, 32768, 0, 8)]
REQUESTS = [
    {
        "name": f"pod{number:04}",
        "cpu_milli": cpu,
        "memory_mib": memory,
        "num_gpu": cards,
        "gpu_milli": 1000 if cards else 0,
        "gpu_spec": "",
    }
    for number, (cpu, memory, cards) in enumerate(
        kind[:3] for kind in KINDS for _ in range(kind[3])
    )
]


def write(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def files(folder, nodes=NODES, requests=REQUESTS):
    return write(folder / "nodes.csv", nodes), write(folder / "requests.csv", requests)
