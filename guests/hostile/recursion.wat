;; Tries: to use up the stack of the host with endless calls
;; Stopped by: the stack of 512 KiB that wasm has to itself
(component
  (core module $m
    (func $deeper (call $deeper))
    (func (export "run") (result i32)
      (call $deeper)
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
