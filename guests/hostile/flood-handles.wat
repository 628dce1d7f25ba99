;; Tries: to have the host hold things for it without end
;; Stopped by: limits.resources
(component
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $p (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $own (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
  (core func $call (canon lower (func $clock "subscribe-duration")))
  (core module $m
    (import "host" "call" (func $call (param i64) (result i32)))
    (func (export "run") (result i32)
      (loop (drop (call $call (i64.const 1))) (br 0))
      unreachable))
  (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
