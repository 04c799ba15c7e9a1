// A button that shows an icon; its label is for screen readers and as a hint.

import { Icon, type IconName } from "./Icon";

interface Properties {
  icon: IconName;
  label: string;
  onClick: (event: MouseEvent) => void;
  disabled?: boolean;
  expanded?: boolean;
  pressed?: boolean;
}

export function IconButton({ icon, label, onClick, disabled, expanded, pressed }: Properties) {
  return (
    <button
      type="button"
      class="plain"
      title={label}
      aria-label={label}
      aria-expanded={expanded}
      aria-pressed={pressed}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}
