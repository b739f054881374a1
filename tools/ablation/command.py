"""Fill the tables of grids of runs: every row with every seed, mean, spread, and differences to a reference.

    python tools/ablation configs/ablation/mmt.yml                      # seeds 1 2 3
    python tools/ablation configs/ablation/mmt.yml --rows MMT --seeds 4 --jobs 2
    python tools/ablation configs/ablation/mmt.yml --table-only         # from the kept results alone
    python tools/ablation --write docs/evidence/method.md               # all tables of a page

Every job is one call of tools/train_net.py or tools/evaluate.py, printed before it runs, so that each can be
repeated by hand. Of a finished run a line is kept in <results>/<grid>.jsonl; rows that have theirs are not
run again, so an interrupted call goes on when it is repeated, and another --results runs all anew. Source
models are pre-trained once a seed and shared by all rows; what a grid file may say stands in
tools/ablation/grid.py.
"""

from mmt_plugin.errors import UserError  # (first: the package makes fastreid importable)

# isort: split
import argparse
import signal
import sys
from pathlib import Path

from tabulate import tabulate

from ablation.doc_tables import draw_page, draw_plots
from ablation.fill import fill_grids
from ablation.grid import Grid, load_grid
from ablation.jobs import row_job
from ablation.learning_curves import PICTURE, draw_curves
from ablation.noise import draw_label_noise
from ablation.result_files import read_results
from ablation.runner import OUTPUT, Failure
from ablation.table import draw_table
from mmt_plugin.system.files import replace_when_complete


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grids", nargs="*", type=Path, metavar="GRID", help="files of configs/ablation")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="repetitions")
    parser.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="run these rows only")
    parser.add_argument("--output", type=Path, default=Path("logs/ablation"), help="folder of all runs")
    parser.add_argument(
        "--results", type=Path, default=Path("docs/results"), help="folder of the kept results"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time, which share the cores; or OMP_NUM_THREADS for each",
    )
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="draw the tables of this page anew")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="overrides of every row, last; name other --results with them",
    )
    arguments = parser.parse_args()
    if not arguments.grids and not arguments.write:
        parser.error("name a grid, or a page to --write")
    if arguments.jobs < 1 or min(arguments.seeds) < 1:
        parser.error("--jobs and --seeds start at 1")
    return arguments


def show(grid: Grid, results: Path, output: Path) -> None:
    """Print a grid's table, draw its curves, and say where things lie."""
    found = read_results(results, grid)
    print(f"\n{grid.title}\n\n{draw_table(grid, found, minutes=True)}\n")
    if noise := draw_label_noise(grid, found):
        print(f"Wrong labels\n\n{noise}\n")
    places = {}
    picture = output / grid.name / PICTURE
    if draw_curves(grid, found, picture):
        places["learning curves"] = picture
    trained = [row for row in grid.rows if row.kind == "train" and found[row.name]]
    if trained:
        folder = row_job(grid, trained[-1], max(found[trained[-1].name]), output).folder
        files = {
            "model": "model_final.pth",
            "log": "log.txt",
            "ranked results": "rank_list.jpg",
            "report": "report.html",
        }
        places |= {name: folder / file for name, file in files.items() if (folder / file).exists()}
    if output.is_dir():
        places["TensorBoard"] = f"tensorboard --logdir {output}"
    print(tabulate(places.items(), tablefmt="plain"))


def write_page(page: Path, results: Path) -> None:
    """Draw a page's tables anew, and its plots beside it."""
    text = draw_page(page.read_text(), results)
    plots = {page.parent / path: plot for path, plot in draw_plots(text, results).items()}
    for path, content in {page: text, **plots}.items():
        path.parent.mkdir(exist_ok=True)
        with replace_when_complete(str(path), "w") as file:
            file.write(content)


def tell(failures: list[Failure]) -> None:
    for failure in failures:
        print(f"\nfailed: {failure.job.name}: {failure.reason}", file=sys.stderr)
        if failure.log:
            print(f"{failure.log}\n(all of it: {failure.job.folder / OUTPUT})", file=sys.stderr)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal, too, must not leave runs behind
        signal.signal(number, interrupt)
    failures = []
    try:
        grids = [load_grid(path, arguments.opts) for path in arguments.grids]
        if not arguments.table_only:
            failures = fill_grids(
                grids,
                arguments.rows,
                arguments.seeds,
                arguments.output,
                arguments.results,
                arguments.jobs,
            )
        for grid in grids:
            show(grid, arguments.results, arguments.output)
        if arguments.write:
            write_page(arguments.write, arguments.results)
    except (UserError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on")
    tell(failures)
    return 1 if failures else 0
