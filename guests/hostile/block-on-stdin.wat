;; Tries: to wait for input that never comes, or to read the input of the host
;; Stopped by: deny by default: what was not given is at its end
(component
  (import "wasi:io/error@0.2.6" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/streams@0.2.6" (instance $streams
    (alias outer 1 $error (type $e))
    (export "error" (type $io-error (eq $e)))
    (type $stream-error' (variant (case "last-operation-failed" (own $io-error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $stream-error')))
    (export "input-stream" (type $input (sub resource)))
    (export "[method]input-stream.blocking-read" (func (param "self" (borrow $input)) (param "len" u64) (result (result (list u8) (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input))
  (import "wasi:cli/stdin@0.2.6" (instance $cli
    (alias outer 1 $input (type $in))
    (export "input-stream" (type $stream (eq $in)))
    (export "get-stdin" (func (result (own $stream))))))
  (core module $memory-and-realloc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $lib (instantiate $memory-and-realloc))
  (alias core export $lib "memory" (core memory $memory))
  (alias core export $lib "realloc" (core func $realloc))
  (core func $open (canon lower (func $cli "get-stdin")))
  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read") (memory $memory) (realloc $realloc)))
  (core module $m
    (import "lib" "memory" (memory 1))
    (import "host" "open" (func $open (result i32)))
    (import "host" "read" (func $read (param i32 i64 i32)))
    (func (export "run") (result i32)
      (call $read (call $open) (i64.const -1) (i32.const 0))
      ;; The error "closed".
      (if (i32.eqz (i32.load8_u (i32.const 0))) (then unreachable))
      (if (i32.ne (i32.load8_u (i32.const 4)) (i32.const 1)) (then unreachable))
      (i32.const 0)))
  (core instance $i (instantiate $m (with "lib" (instance $lib)) (with "host" (instance (export "open" (func $open)) (export "read" (func $read))))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.6" (instance $command))
)
