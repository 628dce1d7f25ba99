;; Tries: to take in each of four tables what one may have
;; Stopped by: limits.table_elements, which is the sum over all tables
(component
  (core module $m
    (table $a 1 funcref) (table $b 1 funcref) (table $c 1 funcref) (table $d 1 funcref)
    (func (export "run") (result i32)
      (drop (table.grow $a (ref.null func) (i32.const 600)))
      (drop (table.grow $b (ref.null func) (i32.const 600)))
      (drop (table.grow $c (ref.null func) (i32.const 600)))
      (if (i32.eq (table.grow $d (ref.null func) (i32.const 600)) (i32.const -1)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
