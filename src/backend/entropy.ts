/** Random bytes of the host: for the guest's entropy device, and for what no other machine has. */
export { fillRandom } from '../host/random.js';
