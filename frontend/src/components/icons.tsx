/** Icons of the page, drawn with the color of the text around them. */

const PATHS = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
  back: "M10.5 3 5.5 8l5 5V3z",
  forward: "M5.5 3l5 5-5 5V3z",
  first: "M3 3h1.5v10H3zM12.5 3 6 8l6.5 5z",
  last: "M11.5 3H13v10h-1.5zM3.5 3 10 8l-6.5 5z",
  check: "M6.4 12.2 2.6 8.4l1.1-1.1 2.7 2.7 5.9-6 1.1 1.1z",
  light:
    "M8 5a3 3 0 100 6 3 3 0 000-6zM7.4 1h1.2v2.4H7.4zM7.4 12.6h1.2V15H7.4zM1 7.4h2.4v1.2H1zM12.6 7.4H15v1.2h-2.4zM2.6 3.5l.9-.9 1.7 1.7-.9.9zM10.8 11.7l.9-.9 1.7 1.7-.9.9zM11.7 5.2l-.9-.9 1.7-1.7.9.9zM4.3 10.8l.9.9-1.7 1.7-.9-.9z",
  dark: "M6.2 1.8a6.3 6.3 0 108 8 5.2 5.2 0 01-8-8z",
  system: "M8 2a6 6 0 100 12A6 6 0 008 2zm0 1.3v9.4a4.7 4.7 0 010-9.4z",
  warning: "M8 1.8 15 14H1L8 1.8zm-.7 4.6v3.8h1.4V6.4H7.3zm0 4.9v1.4h1.4v-1.4H7.3z",
  close: "M3.4 4.5l1.1-1.1L8 6.9l3.5-3.5 1.1 1.1L9.1 8l3.5 3.5-1.1 1.1L8 9.1l-3.5 3.5-1.1-1.1L6.9 8z",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} fill="currentColor" />
    </svg>
  );
}
