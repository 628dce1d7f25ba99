;; Tries: to use up the stack inside a host call
;; Stopped by: the stack of 512 KiB that wasm has to itself
(component
  (import "wasi:random/random@0.2.6" (instance $random (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (core module $memory-and-realloc
    (memory (export "memory") 2)
    (func $deeper (call $deeper))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (call $deeper) (i32.const 1024)))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $call (canon lower (func $random "get-random-bytes") (memory $memory) (realloc $realloc)))
  (core module $m
    (import "host" "call" (func $call (param i64 i32)))
    (func (export "run") (result i32)
      (call $call (i64.const 100) (i32.const 0))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
