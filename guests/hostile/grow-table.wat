;; Tries: to take the host's memory through a table, which is no linear memory
;; Stopped by: limits.table_elements
(component
  (core module $m
    (table 1 funcref)
    (func (export "run") (result i32)
      (loop (br_if 0 (i32.ne (table.grow (ref.null func) (i32.const 100)) (i32.const -1))))
      unreachable))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
