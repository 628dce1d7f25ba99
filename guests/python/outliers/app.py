"""The values of a series that stand out: further from the mean than `sigmas` standard deviations.

    {"series": {"mon": 12.0, "tue": 11.5, "wed": 48.0}, "sigmas": 1.0}
"""
import json
import statistics

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import logging, progress
from wit_world.imports.types import Context, Failure_Permanent


class Entry(exports.Entry):
    def run(self, context: Context, input: str) -> str:
        args = json.loads(input) or {}
        series: dict[str, float] = args.get("series", {})
        sigmas = args.get("sigmas", 3.0)
        if len(series) < 2:
            raise Err(Failure_Permanent(f"a series of {len(series)} values has no outliers: two are needed"))
        logging.log(logging.Level.INFO, "outliers", f"{context.job}: {len(series)} values for {context.scheduled_at[:10]}")
        mean = statistics.fmean(series.values())
        deviation = statistics.stdev(series.values())
        outliers = {name: value for name, value in series.items() if abs(value - mean) > sigmas * deviation}
        progress.report(1.0, f"{len(outliers)} outliers")
        return json.dumps({"mean": round(mean, 3), "deviation": round(deviation, 3), "outliers": outliers})
