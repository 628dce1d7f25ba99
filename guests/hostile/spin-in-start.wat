;; Tries: to compute for ever while it is instantiated, before anything of it was called
;; Stopped by: limits.fuel and limits.timeout, which cover instantiation
(component
  (core module $m
    (func $spin (loop (br 0)))
    (start $spin)
    (func (export "run") (result i32)
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
