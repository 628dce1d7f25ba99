;; Tries: to have the host hold handles of resources of its own
;; Stopped by: limits.resources
(component
  (type $r (resource (rep i32)))
  (core func $call (canon resource.new $r))
  (core module $m
    (import "host" "call" (func $call (param i32) (result i32)))
    (func (export "run") (result i32)
      (loop (drop (call $call (i32.const 1))) (br 0))
      unreachable))
  (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
