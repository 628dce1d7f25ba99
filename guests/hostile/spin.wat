;; Tries: to compute for ever
;; Stopped by: limits.fuel, or limits.timeout where the fuel would last
(component
  (core module $m
    (func (export "run") (result i32)
      (loop (br 0))
      unreachable))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
