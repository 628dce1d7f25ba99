;; Tries: to wait for 16,000 events at once
;; Stopped by: limits.host_call_bytes
(component
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "poll" (func (param "in" (list (borrow $p))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $own (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $memory-and-realloc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $wait (canon lower (func $poll "poll") (memory $memory) (realloc $realloc)))
  (core module $m
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "wait" (func $wait (param i32 i32 i32)))
    (import "lib" "memory" (memory 1))
    (func (export "run") (result i32)
      (call $wait (i32.const 0) (i32.const 16_000) (i32.const 16))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "lib" (instance $lib)) (with "host" (instance
    (export "subscribe" (func $subscribe)) (export "wait" (func $wait))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
