;; Sleeps for an hour. `bellcage bench` runs a thousand of it, so that what is measured is what a guest that waits costs: it has
;; no memory of its own.
(component
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $own (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $wait (canon lower (func $poll "[method]pollable.block")))
  (core module $m
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "wait" (func $wait (param i32)))
    (func (export "run") (result i32)
      (call $wait (call $subscribe (i64.const 3_600_000_000_000)))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "host" (instance
    (export "subscribe" (func $subscribe)) (export "wait" (func $wait))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
