;; Tries: to keep endless keys, each of them small, and dies of the refusal
;; Stopped by: limits.kv_keys, counted in the transaction that writes
(component
  (import "wasi:keyvalue/store@0.2.0-draft" (instance $store
    (type $error' (variant (case "no-such-store") (case "access-denied") (case "other" string)))
    (export "error" (type $error (eq $error')))
    (export "bucket" (type $bucket (sub resource)))
    (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))
    (export "[method]bucket.set" (func (param "self" (borrow $bucket)) (param "key" string) (param "value" (list u8)) (result (result (error $error)))))))
  (core module $memory-and-realloc
    (memory (export "memory") 2)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $open (canon lower (func $store "open") (memory $memory) (realloc $realloc)))
  (core func $set (canon lower (func $store "[method]bucket.set") (memory $memory) (realloc $realloc)))
  (core module $m
    (import "host" "memory" (memory 2))
    (import "host" "open" (func $open (param i32 i32 i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i32 i32)))
    (func (export "run") (result i32)
      (local $key i32)
      (call $open (i32.const 0) (i32.const 0) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then (return (i32.const 1))))
      ;; "A", "B", "C" and on.
      (local.set $key (i32.const 65))
      (loop $next
        (i32.store8 (i32.const 64) (local.get $key))
        (call $set (i32.load (i32.const 20)) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 32))
        (if (i32.load8_u (i32.const 32)) (then unreachable))
        (local.set $key (i32.add (local.get $key) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $key) (i32.const 100))))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "host" (instance
    (export "memory" (memory $memory)) (export "open" (func $open)) (export "set" (func $set))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
