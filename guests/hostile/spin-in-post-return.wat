;; Tries: to leave work behind: it returns at once, and spins when the host says that the result was taken
;; Stopped by: limits.fuel: the attempt lasts until its post-return has returned
(component
  (core module $m
    (func (export "after") (param i32) (loop (br 0)))
    (func (export "run") (result i32)
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run") (post-return (core func $i "after"))))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
