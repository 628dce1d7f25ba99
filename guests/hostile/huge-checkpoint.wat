;; Tries: to let the host keep more for the next attempt than it should
;; Stopped by: limits.checkpoint, which the guest is told of; what it had saved before stays
(component
  (import "bellcage:job/checkpoint@0.1.0" (instance $checkpoint
    (type $variant (variant (case "too-large" u64) (case "unavailable" string)))
    (export "error" (type $error (eq $variant)))
    (export "save" (func (param "data" (list u8)) (result (result (error $error)))))))
  (core module $memory-and-realloc
    (memory (export "memory") 2)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $save (canon lower (func $checkpoint "save") (memory $memory) (realloc $realloc)))
  (core module $m
    (import "lib" "memory" (memory 2))
    (import "host" "save" (func $save (param i32 i32 i32)))
    (func (export "run") (result i32)
      ;; As many as it may, then one more. What comes back is at 0: 1 for an error, then which, then how many it may have.
      (call $save (i32.const 1024) (i32.const 1000) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then unreachable))
      (call $save (i32.const 1024) (i32.const 1001) (i32.const 0))
      (if (i32.ne (i32.load8_u (i32.const 0)) (i32.const 1)) (then unreachable))
      (if (i32.load8_u (i32.const 8)) (then unreachable))
      (if (i64.ne (i64.load (i32.const 16)) (i64.const 1000)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "lib" (instance $lib)) (with "host" (instance (export "save" (func $save))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
