// Renders Markdown (headings, paragraphs, lists, code, emphasis, links) as HTML: {"markdown": "# Hello"}
import { log } from 'bellcage:job/logging@0.1.0';
import type { Context, Failure } from './job';

interface Input {
  markdown?: string;
}

interface Output {
  html: string;
  headings: { level: number; text: string }[];
}

export const entry = {
  run(context: Context, input: string): string {
    const { markdown }: Input = JSON.parse(input) ?? {};
    if (typeof markdown !== 'string') {
      throw { tag: 'permanent', val: 'args need markdown, a string' } satisfies Failure;
    }
    const output = render(markdown);
    log('info', 'markdown', `${context.job}: ${output.headings.length} headings, ${output.html.length} characters`);
    return JSON.stringify(output);
  },
};

function render(markdown: string): Output {
  const headings: Output['headings'] = [];
  const blocks = markdown.replace(/\r\n/g, '\n').split(/\n{2,}/).filter((block) => block.trim());
  const html = blocks.map((block) => {
    const heading = /^(#{1,6}) +(.+)$/.exec(block);
    if (heading) {
      const level = heading[1].length;
      headings.push({ level, text: heading[2] });
      return `<h${level}>${inline(heading[2])}</h${level}>`;
    }
    const lines = block.split('\n');
    if (lines.every((line) => line.startsWith('    '))) {
      return `<pre><code>${escape(lines.map((line) => line.slice(4)).join('\n'))}</code></pre>`;
    }
    if (lines.every((line) => /^[-*] /.test(line))) {
      return `<ul>${lines.map((line) => `<li>${inline(line.slice(2))}</li>`).join('')}</ul>`;
    }
    return `<p>${inline(lines.join(' '))}</p>`;
  });
  return { html: html.join('\n'), headings };
}

function inline(text: string): string {
  return escape(text)
    .replace(/`([^`]+)`/g, '<code>$1</code>')
    .replace(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>')
    .replace(/\*([^*]+)\*/g, '<em>$1</em>')
    .replace(/\[([^\]]+)\]\((https?:[^)\s]+)\)/g, '<a href="$2">$1</a>');
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);
}
