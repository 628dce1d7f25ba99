import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import logging
from wit_world.imports.types import Context, Failure_Permanent


class Entry(exports.Entry):
    def run(self, context: Context, input: str) -> str:
        args = json.loads(input) or {}
        logging.log(logging.Level.INFO, "", f"run {context.run}, attempt {context.attempt}")
        if not args.get("name"):
            raise Err(Failure_Permanent("there is nobody to greet"))
        return json.dumps({"greeting": f"hello {args['name']}"})
