"""Totals of a CSV on stdin, by the first column, as JSON on stdout.

    region,amount
    north,12.50
"""
import csv
import json
import sys

from wit_world import exports


class Run(exports.Run):
    def run(self) -> None:
        totals: dict[str, float] = {}
        rows = 0
        for row in csv.DictReader(sys.stdin):
            region, amount = list(row.values())[:2]
            totals[region] = round(totals.get(region, 0.0) + float(amount), 2)
            rows += 1
        print(f"report: {rows} rows", file=sys.stderr)
        print(json.dumps({"rows": rows, "totals": dict(sorted(totals.items()))}))
