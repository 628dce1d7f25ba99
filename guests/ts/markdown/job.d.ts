// The types of wit/job.wit as TypeScript sees them.
export interface Context {
  job: string;
  run: string;
  attempt: number;
  scheduledAt: string;
  scheduledAtMs: number;
  deadlineMs: number;
}

export type Failure =
  | { tag: 'failed'; val: string }
  | { tag: 'retry-after'; val: { message: string; afterMs: number } }
  | { tag: 'permanent'; val: string };

declare module 'bellcage:job/logging@0.1.0' {
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'critical';
  export function log(level: Level, context: string, message: string): void;
}
