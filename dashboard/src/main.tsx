import { render } from 'preact';
import { App } from './app';
import { listen } from './api/live';
import { applyTheme } from './theme';
import './styles/base.css';
import './styles/table.css';
import './styles/parts.css';

applyTheme();
const root = document.getElementById('app');
if (root !== null) {
  render(<App />, root);
  listen();
}
