;; Tries: to read the environment of the host
;; Stopped by: deny by default: without a grant there are no variables
(component
  (import "wasi:cli/environment@0.2.6" (instance $asked (export "get-environment" (func (result (list (tuple string string)))))))
  (core module $memory-and-realloc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $call (canon lower (func $asked "get-environment") (memory $memory) (realloc $realloc)))
  (core module $m
    (import "host" "call" (func $call (param i32)))
    (import "lib" "memory" (memory 1))
    (func (export "run") (result i32)
      (i32.store (i32.const 4) (i32.const 99))
      (call $call (i32.const 0))
      ;; A list: where, and how many.
      (if (i32.load (i32.const 4)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "lib" (instance $lib)) (with "host" (instance (export "call" (func $call))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
