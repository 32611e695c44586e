"""A report in words and tables: Markdown, LaTeX, and the sentences that the command line prints too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from clipsep.evaluation.report.statistics import METRICS, Report
from clipsep.evaluation.report.values import Statistic
from clipsep.evaluation.scoring.score import MIXTURE
from clipsep.messages import counted, markdown_text

TITLES = {
    "sdr": "SDR",
    "sdr_improvement": "SDR improvement",
    "si_sdr": "SI-SDR",
    "si_sdr_improvement": "SI-SDR improvement",
    "sir": "SIR",
    "sar": "SAR",
}

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {character: f"\\{character}" for character in "&%$#_{}"}  # to LaTeX


def decibel_text(value: float | None, digits: int = 2) -> str:
    """With this many digits after the point; a dash for what is undefined."""
    if value is None or math.isnan(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no minus before a zero


def worse_than_mixture_text(report: Report, estimate: str) -> str:
    """How many estimates are worse than no separation, in one sentence."""
    share = report.share_worse(estimate)
    if share is None:
        return ""
    return f"{estimate} worse than the mixture itself (SDR): {100 * share:.1f} % of the mixtures."


def absent_sound_text(report: Report, estimate: str) -> str:
    """Describe the leakage for absent sounds in one sentence; empty if none was measured."""
    share, level = report.leakage(estimate), report.leakage(estimate, in_decibels=True)
    if share.mean is None or share.median is None:
        return ""
    text = (
        f"{estimate} of an absent sound: {100 * share.mean:.1f} % of the mixture's energy "
        f"(median {100 * share.median:.1f} %)"
    )
    if level.n:
        text += f", {decibel_text(level.mean)} dB (median {decibel_text(level.median)} dB)"
    if level.left_out:
        text += f"; digital silence, without a level in dB: {counted(level.left_out, 'estimate')}"
    return f"{text}; {counted(share.n, 'mixture')}."


def detection_text(report: Report, estimate: str) -> str:
    """How often absent sounds are heard and present ones missed, in one sentence."""
    found = report.detection(estimate)
    if found is None:
        return ""
    misses = "" if found.miss_rate is None else f", misses {100 * found.miss_rate:.1f} %"
    gain = decibel_text(found.class_aware_sdr_improvement.mean)
    return (
        f"{estimate} at {found.threshold_db:g} dB of the mixture: false alarms "
        f"{100 * found.false_alarm_rate:.1f} %{misses}; CA-SDRi {gain} dB."
    )


def noise_text(report: Report, estimate: str) -> str:
    """How active the noise heads are, in one sentence; empty if they were not looked at."""
    activation = report.noise_activation(estimate)
    if not activation.n:
        return ""
    return (
        f"noise heads given the {estimate}: mean activation {activation.mean:.3f} (median "
        f"{activation.median:.3f}); {counted(activation.n, 'mixture')}."
    )


def clap_text(report: Report, estimate: str) -> str:
    """Describe how a CLAP judges an estimate, in one sentence; empty if none judged."""
    scores = report.clap_scores(estimate)
    if scores is None:
        return ""
    text, audio = (decibel_text(scores[key]["mean"], 3) for key in ("clap_score", "clap_score_a"))
    distance = decibel_text(scores["frechet_distance"], 3)
    return (
        f"{estimate} by CLAP: CLAPScore {text}, CLAPScore_A {audio}, Fréchet distance {distance}."
    )


def notes(report: Report) -> Iterator[str]:
    """Yield what a reader of the numbers has to know, sentence by sentence."""
    listed = report.mixture_list
    if listed["every"] > 1:
        yield (
            f"A quick look: only {listed['scored']} of {counted(listed['mixtures'], 'mixture')} scored, "
            f"one in {listed['every']}."
        )
    if report.silent_references:
        yield f"With a silent source (sum |x| <= 1e-5): {counted(report.silent_references, 'mixture')}."
    for name, count in report.silent_estimates.items():
        estimates = counted(count, "silent estimate")
        yield f"'{name}' has {estimates} (0 dB SDR, SIR and SAR undefined)."
    for name in report.estimates:
        for metric in METRICS:
            statistic = report.statistic(name, metric)
            if statistic.left_out:
                yield (
                    f"{TITLES[metric]} of '{name}' is infinite or undefined for "
                    f"{counted(statistic.left_out, 'mixture')}, left out of its figures."
                )


def markdown(report: Report) -> str:
    """Write the whole report."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {markdown_text(report.model['name'])} on {Path(report.mixture_list['path']).name}\n"
    yield from _what_was_done(report)
    yield "\n## Overall\n"
    yield "dB: mean ± standard error (median).\n"
    yield from _metric_table("", {name: name for name in report.estimates}, report)
    yield ""
    sentences = [worse_than_mixture_text(report, name) for name in report.model_estimates]
    sentences += [absent_sound_text(report, name) for name in report.model_estimates]
    sentences += [detection_text(report, name) for name in report.model_estimates]
    sentences += [noise_text(report, name) for name in report.model_estimates]
    sentences += [clap_text(report, name) for name in (MIXTURE, *report.model_estimates)]
    sentences += [_cost_text(report), _speed_text(report)]
    for sentence in [*sentences, *notes(report)]:
        if sentence:
            yield f"- {sentence[0].upper()}{sentence[1:]}"
    yield f"- SAR of the {MIXTURE} measures rounding errors only: a sum of the sources has no artifacts."
    yield "- SI-SDR without subtracting means (Le Roux et al., 2019); improvements are over the mixture."
    yield from _without_silent_mixtures(report)
    yield from _curve("SNR of the list in dB", report.by_snr, report)
    yield from _curve("sounds in the mixture", report.by_n_sounds, report)
    yield "\n## By class\n\n![SDR by class](classes.png)\n"
    yield "Mean SDR in dB.\n"
    yield f"| class | mixtures | {' | '.join(report.estimates)} |"
    yield f"|---|---:|{'---:|' * len(report.estimates)}"
    for label, mixtures in report.by_class.items():
        cells = [decibel_text(report.statistic(n, "sdr", label).mean) for n in report.estimates]
        yield f"| {markdown_text(label)} | {len(mixtures)} | {' | '.join(cells)} |"
    for name in report.model_estimates:
        yield f"\n<details><summary>All metrics by class: {name}</summary>\n"
        yield from _metric_table("class", dict.fromkeys(report.by_class, name), report, True)
        yield "\n</details>"


def _speed_text(report: Report) -> str:
    speed = report.speed()
    if speed is None:
        return ""
    memory = speed["peak_megabytes"]
    return (
        f"Separation took {speed['real_time_factor']:.3f} s of one process for each second of sound "
        f"({counted(int(speed['mixtures'] or 0), 'mixture')}, all their queries at once, on this machine)"
        + ("." if memory is None else f", and {memory:.0f} MB of memory with the scoring.")
    )


def _cost_text(report: Report) -> str:
    parameters, macs = (report.model.get(key) for key in ("parameters", "macs_per_second"))
    if parameters is None:
        return ""
    counted_macs = "" if macs is None else f", {macs / 1e9:.2f} billion multiplications per second"
    return f"{parameters / 1e6:.2f} M parameters{counted_macs} of sound with one query."


def _curve(title: str, groups: dict, report: Report) -> Iterator[str]:
    """Mean SDR improvement and SDR by group, if there is more than one."""
    if len(groups) < 2:
        return
    names = report.model_estimates
    yield f"\n## By {title}\n\nMean SDR in dB (improvement over the mixture).\n"
    yield f"| {title} | mixtures | {' | '.join(names)} |"
    yield f"|---:|---:|{'---:|' * len(names)}"
    for value, mixtures in groups.items():
        cells = [
            f"{decibel_text(Statistic.of(one.scores[name].sdr for one in mixtures).mean)} "
            f"({decibel_text(Statistic.of(one.scores[name].sdr_improvement for one in mixtures).mean)})"
            for name in names
        ]
        yield f"| {value:g} | {len(mixtures)} | {' | '.join(cells)} |"


def _what_was_done(report: Report) -> Iterator[str]:
    model, mixtures, settings = report.model, report.mixture_list, report.settings
    yield f"- model: {model['name']} ({model['kind']}), SHA-256 of its weights `{model['sha256']}`"
    scored = f"{mixtures['scored']} of {counted(mixtures['mixtures'], 'mixture')}"
    yield f"- list: {scored}, SHA-256 `{mixtures['sha256']}`"
    queries = ", ".join(settings["queries"]) or "none"
    prompts = f"; prompts: {settings['prompts']}" if settings["prompts"] else ""
    images = f"; images: {settings['images']}" if settings["images"] else ""
    yield f"- queries: {queries}{prompts}{images}; {settings['masks']} masks"
    environment = report.environment
    yield (
        f"- {environment['date']}, clipsep {environment['clipsep']}, "
        f"torch {environment['torch']}, {environment['platform']}"
    )


def _metric_table(
    head: str,
    rows: dict[str, str],
    report: Report,
    by_class: bool = False,
    skip_silent: bool = False,
) -> Iterator[str]:
    """Write a table of all metrics; ``rows`` gives the estimate of each row."""
    yield f"| {head} | {' | '.join(TITLES[metric] for metric in METRICS)} |"
    yield f"|---|{'---:|' * len(METRICS)}"
    for row, name in rows.items():
        label = row if by_class else None
        cells = [_cell(report.statistic(name, metric, label, skip_silent)) for metric in METRICS]
        yield f"| {markdown_text(row)} | {' | '.join(cells)} |"


def _without_silent_mixtures(report: Report) -> Iterator[str]:
    names = [
        name
        for name in report.estimates
        if report.silent_references or name in report.silent_estimates
    ]
    if names:
        yield "\nWithout silent sources and estimates, as the published evaluation counts:\n"
        yield from _metric_table("", {name: name for name in names}, report, skip_silent=True)


def _cell(statistic: Statistic) -> str:
    if statistic.mean is None:
        return "–"
    error = statistic.standard_error
    spread = f" ± {decibel_text(error)}" if error is not None else ""
    return f"{decibel_text(statistic.mean)}{spread} ({decibel_text(statistic.median)})"


def latex(report: Report) -> str:
    """Mean and standard error in dB of every estimate; needs the package booktabs."""
    title = escaped(f"{report.model['name']}, {len(report.mixtures)} mixtures")
    lines = [
        f"% {title}: mean and standard error in dB",
        rf"\begin{{tabular}}{{l{'r' * len(METRICS)}}}",
        r"\toprule",
        rf" & {' & '.join(TITLES[metric] for metric in METRICS)} \\",
        r"\midrule",
    ]
    for name in report.estimates:
        cells = [_latex_cell(report.statistic(name, metric)) for metric in METRICS]
        lines.append(rf"{escaped(name)} & {' & '.join(cells)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escaped(text: str) -> str:
    """Text with the characters that mean something to LaTeX escaped."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _latex_cell(statistic: Statistic) -> str:
    if statistic.mean is None:
        return "--"
    mean = f"{round(statistic.mean, 2) + 0.0:.2f}"
    error = statistic.standard_error
    return f"${mean}$" if error is None else rf"${mean} \pm {error:.2f}$"
