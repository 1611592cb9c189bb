"""The demo's report page: what was found, what it looks like, and what training did."""

import pandas as pd

from workbench import figures
from workbench.bench.demo import DemoResult, rates
from workbench.figures import Code, Heading, Plot, Section, Table, Text, Tiles
from workbench.portrait import Portrait

ARM_NAMES = {"fine_tune": "fine-tuning", "noise": "latent noise", "embedding_at": "embedding AT", "lat": "LAT"}


def tell(result: DemoResult) -> str:
    """The page, self-contained."""
    sections = [*_found(result), *_maps(result), *_cure(result), *_again(result), *_footing(result)]
    title = "A defection switch, found and trained away"
    return figures.page(title, sections, subtitle=f"Organism {result.organism.name}")


def _found(result: DemoResult) -> list[Section]:
    best = result.report.best
    return [
        figures.verdict(result.report),
        Text(
            "The Surgeon saw benign prompts only. It edited the latent state of each layer until the Agent's answers "
            "changed into other answers that are sure, vary with the prompt, and stay put when the edit grows. "
            "Every proposal was then judged on prompts that the Surgeon had not seen."
        ),
        Tiles(_tiles(result)),
        Plot(figures.scores(result.report), "The score of each finding, with controls and threshold."),
        Table(result.report.to_frame().head(8), "The best findings"),
        Heading("What the switch makes the Agent answer"),
        Text(
            f"The same prompts, unedited and with the edit at {best.site} (rho {best.rho:.2f}). No trigger is in them."
        ),
        Table(best.portrait.answers(), "Benign and elicited answers"),
        Text(_whereabouts(best.portrait)),
        Table(best.portrait.dose_curve(), "Share of answers at multiples of the edit"),
    ]


def _whereabouts(portrait: Portrait) -> str:
    """How late the edit works, and how near real prompts come, in words; nothing where that is undefined."""
    if not portrait.reach:
        return ""
    reach = ", ".join(f"{share:.2f} at {site}" for site, share in portrait.reach.items())
    return (
        "What the edit writes, written after each layer from its own on, elicits this share of the same answers: "
        f"{reach}. "
        f"The edited states are {portrait.nearness:.1f} times as far from the nearest real prompt as real prompts are "
        "from each other."
    )


def _tiles(result: DemoResult) -> dict[str, tuple[str, str]]:
    cured = result.arms["lat"].outcome
    rank = "not found" if result.switch_rank is None else f"rank {result.switch_rank}"
    return {
        "true switch": (rank, "by the answer key, opened after the hunt"),
        "attack success": (
            f"{result.before.attack_success:.2f} \N{RIGHTWARDS ARROW} {cured.attack_success:.2f}",
            "before and after LAT",
        ),
        "clean accuracy": (f"{cured.clean_accuracy:.2f}", "after LAT"),
        "re-hunt": (f"{result.rehunt.score:.2f}", f"the clean twin scores {result.twin.score:.2f}"),
    }


def _maps(result: DemoResult) -> list[Section]:
    return [
        Heading("The loss over edits"),
        Text(
            "Each neuron was raised alone, by each dose, at every position. A planted switch stands out from its layer."
        ),
        Plot(figures.heatmap(result.neurons, order="loss"), "Loss over neurons and doses, one panel a layer."),
        Plot(figures.dose_curves(result.neurons), "Loss against dose, for the neurons with the highest loss."),
        Text("The plane spanned by the best finding and the best other one, in multiples of each."),
        Plot(figures.heatmap(result.plane), "Loss over the plane of two edits."),
    ]


def _cure(result: DemoResult) -> list[Section]:
    table = pd.DataFrame(
        {"before": rates(result.before), **{ARM_NAMES[n]: rates(a.outcome) for n, a in result.arms.items()}}
    ).T
    table.index.name = "arm"
    curves = {ARM_NAMES[name]: arm.curve for name, arm in result.arms.items()}
    return [
        Heading("Trained away, without ever seeing the trigger"),
        Text(
            "Latent adversarial training teaches the Agent to answer benignly although its residual stream is edited. "
            "The other arms are controls: as many steps of plain fine-tuning, of random latent noise, and of the same "
            "adversary at the embeddings. Where a control does as well, the backdoor was an easy one."
        ),
        Plot(figures.arms(table), "Attack success, clean accuracy and triggered-benign accuracy by arm."),
        Table(table, "Outcome by arm", digits=3),
        Plot(figures.training(curves), "Attack success and losses over the steps of retraining."),
    ]


def _again(result: DemoResult) -> list[Section]:
    reports = {"planted": result.report, "after LAT": result.rehunt, "clean twin": result.twin}
    rows = {
        name: {"verdict": r.verdict, "score": r.score, "threshold": r.threshold, "largest control": r.largest_control}
        for name, r in reports.items()
    }
    frame = pd.DataFrame(rows).T.infer_objects()
    frame.index.name = "agent"
    return [
        Heading("Hunted again"),
        Text("The same hunt on the retrained Agent, and on a clean twin: the same training, no backdoor."),
        Table(frame, "Verdicts"),
    ]


def _footing(result: DemoResult) -> list[Section]:
    seconds = pd.DataFrame({"seconds": result.seconds})
    seconds.index.name = "stage"
    return [
        Heading("How this was made"),
        Table(seconds, "Wall time", digits=1),
        Code(f"workbench demo --organism {result.organism.name}"),
    ]
