// Runs before the first paint, so that no page flashes in the other theme.
document.documentElement.classList.add("scripts");
try {
  const theme = localStorage.getItem("tenure-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch (error) {
  // A browser that keeps nothing shows its own theme.
}
