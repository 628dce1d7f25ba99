;; Tries: to take in each of four memories what one may have
;; Stopped by: limits.memory, which is the sum over all memories
(component
  (core module $m
    (memory $a 1) (memory $b 1) (memory $c 1) (memory $d 1)
    (func (export "run") (result i32)
      (drop (memory.grow $a (i32.const 100)))
      (drop (memory.grow $b (i32.const 100)))
      (drop (memory.grow $c (i32.const 100)))
      (if (i32.eq (memory.grow $d (i32.const 100)) (i32.const -1)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
