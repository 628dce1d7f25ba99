;; Tries: to keep the host busy with calls that cost the guest next to nothing
;; Stopped by: limits.host_calls
(component
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock (export "now" (func (result u64)))))
  (core func $call (canon lower (func $clock "now")))
  (core module $m
    (import "host" "call" (func $call (result i64)))
    (func (export "run") (result i32)
      (loop (drop (call $call)) (br 0))
      unreachable))
  (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
